-- Airflow renders this file with Jinja. Values are better bound as parameters, here in the style of DuckDB.
SELECT customers.phone AS destination,
       customers.first_name AS "firstName",
       orders.order_nr
  FROM orders
  JOIN customers ON customers.customer_id = orders.customer_id
 WHERE orders.status = 'completed'
   AND CAST(orders.completed_at AS DATE) = CAST($day AS DATE)
